from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InterfaceType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOFTWARE_LOOPBACK: _ClassVar[InterfaceType]
    ETHERNET_CSMACD: _ClassVar[InterfaceType]
    MEMORY_INTERFACE: _ClassVar[InterfaceType]
    TAP_INTERFACE: _ClassVar[InterfaceType]
    AF_PACKET_INTERFACE: _ClassVar[InterfaceType]
    VXLAN_TUNNEL: _ClassVar[InterfaceType]
SOFTWARE_LOOPBACK: InterfaceType
ETHERNET_CSMACD: InterfaceType
MEMORY_INTERFACE: InterfaceType
TAP_INTERFACE: InterfaceType
AF_PACKET_INTERFACE: InterfaceType
VXLAN_TUNNEL: InterfaceType

class Interfaces(_message.Message):
    __slots__ = ("interface",)
    class Interface(_message.Message):
        __slots__ = ("name", "description", "type", "enabled", "phys_address", "mtu", "ip_addresses", "memif", "afpacket")
        class Memif(_message.Message):
            __slots__ = ("master", "mode", "id", "socket_filename", "secret", "ring_size", "buffer_size", "rx_queues", "tx_queues")
            class MemifMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
                __slots__ = ()
                ETHERNET: _ClassVar[Interfaces.Interface.Memif.MemifMode]
                IP: _ClassVar[Interfaces.Interface.Memif.MemifMode]
                PUNT_INJECT: _ClassVar[Interfaces.Interface.Memif.MemifMode]
            ETHERNET: Interfaces.Interface.Memif.MemifMode
            IP: Interfaces.Interface.Memif.MemifMode
            PUNT_INJECT: Interfaces.Interface.Memif.MemifMode
            MASTER_FIELD_NUMBER: _ClassVar[int]
            MODE_FIELD_NUMBER: _ClassVar[int]
            ID_FIELD_NUMBER: _ClassVar[int]
            SOCKET_FILENAME_FIELD_NUMBER: _ClassVar[int]
            SECRET_FIELD_NUMBER: _ClassVar[int]
            RING_SIZE_FIELD_NUMBER: _ClassVar[int]
            BUFFER_SIZE_FIELD_NUMBER: _ClassVar[int]
            RX_QUEUES_FIELD_NUMBER: _ClassVar[int]
            TX_QUEUES_FIELD_NUMBER: _ClassVar[int]
            master: bool
            mode: Interfaces.Interface.Memif.MemifMode
            id: int
            socket_filename: str
            secret: str
            ring_size: int
            buffer_size: int
            rx_queues: int
            tx_queues: int
            def __init__(self, master: _Optional[bool] = ..., mode: _Optional[_Union[Interfaces.Interface.Memif.MemifMode, str]] = ..., id: _Optional[int] = ..., socket_filename: _Optional[str] = ..., secret: _Optional[str] = ..., ring_size: _Optional[int] = ..., buffer_size: _Optional[int] = ..., rx_queues: _Optional[int] = ..., tx_queues: _Optional[int] = ...) -> None: ...
        class Afpacket(_message.Message):
            __slots__ = ("host_if_name",)
            HOST_IF_NAME_FIELD_NUMBER: _ClassVar[int]
            host_if_name: str
            def __init__(self, host_if_name: _Optional[str] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        ENABLED_FIELD_NUMBER: _ClassVar[int]
        PHYS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
        MTU_FIELD_NUMBER: _ClassVar[int]
        IP_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
        MEMIF_FIELD_NUMBER: _ClassVar[int]
        AFPACKET_FIELD_NUMBER: _ClassVar[int]
        name: str
        description: str
        type: InterfaceType
        enabled: bool
        phys_address: str
        mtu: int
        ip_addresses: _containers.RepeatedScalarFieldContainer[str]
        memif: Interfaces.Interface.Memif
        afpacket: Interfaces.Interface.Afpacket
        def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., type: _Optional[_Union[InterfaceType, str]] = ..., enabled: _Optional[bool] = ..., phys_address: _Optional[str] = ..., mtu: _Optional[int] = ..., ip_addresses: _Optional[_Iterable[str]] = ..., memif: _Optional[_Union[Interfaces.Interface.Memif, _Mapping]] = ..., afpacket: _Optional[_Union[Interfaces.Interface.Afpacket, _Mapping]] = ...) -> None: ...
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    interface: _containers.RepeatedCompositeFieldContainer[Interfaces.Interface]
    def __init__(self, interface: _Optional[_Iterable[_Union[Interfaces.Interface, _Mapping]]] = ...) -> None: ...
